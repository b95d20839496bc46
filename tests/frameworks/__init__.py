"""Every framework with every package manager, built by the whole product: `scripts/frameworks`."""
