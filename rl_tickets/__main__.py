"""`python -m rl_tickets`: look at a ticket, compare two results folders."""

from rl_tickets.lab.commands import main

main()
