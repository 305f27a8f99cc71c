"""Ways to draw a scene around a product, and the networks behind them."""
