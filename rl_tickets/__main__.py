"""`python -m rl_tickets`: look at a ticket, compare two results folders, evaluate one over, export or film a policy."""

from rl_tickets.lab.commands import main

main()
