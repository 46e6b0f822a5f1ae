"""Further slots than norm layers: prompts, adapters, tokens and the classifier head.

Start at `build.add_extras`. What is asked for is in `request`, what comes out in `plan`, each kind of slot
in a file of `kinds`. Two rules hold for all of them: at their base values the model computes what it
computed before, and nothing that a slot moves lies before the first norm layer, except a prompt, which the
domain signature is shielded from (`signature`).
"""
