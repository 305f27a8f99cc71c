"""A scene, a product and an advertiser's words into a finished ad."""
