"""What Library Upkeep can be asked to do, as its node offers it; the command calls the third `prune`, and the fourth `prune --yes`."""

VERIFY, REPAIR, WOULD_PRUNE, PRUNE = "verify", "repair", "show what prune would remove", "prune"
