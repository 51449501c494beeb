"""The stages of a batch, in order: submit (validate, plan, store), run, assemble."""
