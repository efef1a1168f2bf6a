"""Find, test and keep lottery tickets in Stable-Baselines3 agents."""

from rl_tickets.agents.early_bird import EarlyBird as EarlyBird
from rl_tickets.agents.early_bird import EarlyBirdCallback as EarlyBirdCallback
from rl_tickets.agents.holding import LeakError as LeakError
from rl_tickets.agents.holding import hold as hold
from rl_tickets.agents.rewind import FineTuning as FineTuning
from rl_tickets.agents.rewind import Rewind as Rewind
from rl_tickets.agents.rewind import RewindWarning as RewindWarning
from rl_tickets.search.controls import permuted_mask as permuted_mask
from rl_tickets.search.controls import permuted_weights as permuted_weights
from rl_tickets.search.controls import random_mask as random_mask
from rl_tickets.search.controls import random_reinit as random_reinit
from rl_tickets.search.levels import Level as Level
from rl_tickets.search.levels import find_tickets as find_tickets
from rl_tickets.tickets.criteria import lamp as lamp
from rl_tickets.tickets.criteria import magnitude as magnitude
from rl_tickets.tickets.criteria import random_scores as random_scores
from rl_tickets.tickets.mask import Mask as Mask
from rl_tickets.tickets.pruning import LayerCollapseWarning as LayerCollapseWarning
from rl_tickets.tickets.schedules import geometric as geometric
from rl_tickets.tickets.scopes import erk as erk
from rl_tickets.tickets.ticket import Ticket as Ticket
