"""One model to talk to, in a terminal or in a page of the browser (the extra ``app``), and what its latents hold."""
