"""The audit: do a model's latents do anything? One file an arm-kind or part; `latent_trainer.cli.audit` runs them all.

`battery` answers problems with other latents, `arms` says which latents, `verdicts` what follows; `steps`, `counterfactual`,
`geometry`, `reading` and `checkpoints` are the further parts, `charts` and `report` the page.
"""
