"""One torch thread: results depend on their number, and two test processes share two cores."""

import torch

torch.set_num_threads(1)
