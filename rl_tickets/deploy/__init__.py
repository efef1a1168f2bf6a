"""Taking a trained ticket where it is used: a network that is really smaller, exported, filmed."""
