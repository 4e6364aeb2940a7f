"""Many runs from one file: what to run, what is done already, where to run the rest."""
