"""Calibration data: read when needed, dealt into folds, never held as a whole."""
