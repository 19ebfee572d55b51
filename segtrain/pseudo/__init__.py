"""Labels that a network predicts, as samples of a verified store to train other networks on."""
