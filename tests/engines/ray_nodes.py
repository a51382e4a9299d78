"""A Ray cluster of three nodes on this machine, in a process of its own, since Ray forks and JAX must not be forked.

Prints the cluster's address; removes a node, without its leave, for a line on standard input; ends with it.
"""

import sys

from ray.cluster_utils import Cluster

NODE = {"num_cpus": 1, "node_ip_address": "127.0.0.2"}  # 127.0.0.1 Ray would replace

if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    workers = [cluster.add_node(**NODE) for _ in range(2)]
    print(cluster.address, flush=True)
    for _ in sys.stdin:
        cluster.remove_node(workers.pop(), allow_graceful=False)
        print("removed", flush=True)
    cluster.shutdown()
