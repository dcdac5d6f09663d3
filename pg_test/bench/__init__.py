"""`make bench`: elacsym and its peers on one server, one data set, in one run. See docs/performance.md."""
