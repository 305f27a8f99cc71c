"""What people like: looks, tastes, cohorts, and which looks to draw."""
