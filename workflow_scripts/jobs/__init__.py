"""What surrounds a job's command and is no part of it: where it runs, on which GPU, as a copy of which process.

    shell -> launch -> the command                      on a GPU (gpu_lease), or where no copy is to be had
             launch -> copy_client ... copy_server -> copy of the server, which runs the command
    the command -> entry -> its main, whose mistakes of the user become one line

`launch` becomes the command. On a machine's processor it asks `copy_server`, a process that has imported torch, for a
copy of itself; `copy_client` hands on streams and signals, writes down the copy's memory and leaves as the copy left.
`copy_protocol` is what the two say to each other. Nothing here decides a number.
"""

OPERATIONAL = True  # no number depends on it; docs/reruns.md
