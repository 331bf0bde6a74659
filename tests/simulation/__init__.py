"""The product's rules driven by one seeded scheduler: servers, hosts, networks and disks that fail, in virtual time."""
