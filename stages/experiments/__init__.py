"""Many runs by one command: ablations, the sensitivity of t*, and DVC's queue."""
