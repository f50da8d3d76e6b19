"""Where a model's time goes: operator by operator, beside the machine's measured peak."""
