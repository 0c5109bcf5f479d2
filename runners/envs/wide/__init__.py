"""``placement=wide``: the tasks of libero_spatial with everything movable spread over the reachable table."""
