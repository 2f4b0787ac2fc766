"""`latsearch pipeline`: from a search space to exported, registered networks, stage by stage."""
