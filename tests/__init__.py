"""The tests: a package, so that none of this name that another distribution installs takes its place."""
