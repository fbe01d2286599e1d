"""OpenStack Swift and Rackspace Cloud Files: a large object over segments."""
