"""Health of the game: measures, limits, alarms, and what a guard decides."""
