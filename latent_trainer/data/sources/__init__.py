"""Problems from files and the Hub, one file a data set."""
