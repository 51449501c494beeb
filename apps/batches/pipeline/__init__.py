"""The stages of a batch, in order: submit (validate, plan, store), run, assemble; and retry, for what failed."""
