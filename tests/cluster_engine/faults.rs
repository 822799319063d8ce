//! Files that fail, logs that were written by others, members that were away for long.
