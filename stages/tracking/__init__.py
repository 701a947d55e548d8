"""MLflow: everything that talks to it. A projection of what git and DVC hold."""
