"""A Ray cluster of two nodes of one core on this machine. Prints its address, and ends with whoever started it.

When it reads a line it ends the second node, and says so.
"""

import sys

from ray.cluster_utils import Cluster

NODE = {"object_store_memory": 100_000_000, "num_cpus": 1}

if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    second = cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    for _ in sys.stdin:
        cluster.remove_node(second, allow_graceful=False)
        print("lost", flush=True)
    cluster.shutdown()
