"""Pre-trained latent diffusion models behind one small interface, `base.Backbone`.

`from_folder.load` reads whichever family a foundation folder holds.
"""
