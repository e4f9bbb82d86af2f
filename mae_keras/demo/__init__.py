"""The page of `mae-keras demo`: hide patches of a picture, see what a model predicts for them."""
