"""Running a sweep elsewhere: descriptions of clusters, and the command line submitted to them."""
