"""`rocore sweep status`: how a sweep stands, from any process."""
