"""Files on both sides of every limit of the formats."""

import edges_others
import edges_qcow2
import edges_tables
import edges_vhd
import edges_vhdx

GROUPS = {
    **edges_qcow2.GROUPS,
    **edges_vhd.GROUPS,
    **edges_vhdx.GROUPS,
    **edges_tables.GROUPS,
    **edges_others.GROUPS,
}
