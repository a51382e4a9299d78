"""Networks that training leaves, to use: codes and predictions of rows to come."""
