"""Profile models operator by operator, next to the machine's measured peaks."""
