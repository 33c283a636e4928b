#!/usr/bin/env bash
# A SLURM of three pretended nodes on this machine, for the tests beside this file; everything it has lies in DIR.
#
#   start-slurm.sh DIR           install Debian's packages if need be (as root), start, wait until all nodes are idle
#   start-slurm.sh --stop DIR    cancel what runs, end the daemons that were started from DIR
#
# Nodes n1 and n2 are in partition `cpu`; n3 has two pretended GPUs and is in `gpu`; all are in `spare`, whose jobs make
# way for those of the other partitions and are queued again. Use it with SLURM_CONF=DIR/slurm.conf.
set -euo pipefail
export PATH=$PATH:/usr/sbin

fail() { echo "start-slurm: $*" >&2; exit 1; }

install() {
    command -v munged slurmctld slurmd sbatch >/dev/null && return
    [ "$(id -u)" = 0 ] || fail "no SLURM here, and only root can install it: apt-get install slurm-wlm"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slurm-wlm; } \
        >"$dir/install.log" 2>&1 </dev/null || fail "cannot install slurm-wlm, see $dir/install.log"
}

# Four ports in a row that nobody listens on: a test may run beside another one.
free_ports() {
    local port
    for port in $(shuf -i 20000-29990 -n 50); do
        ss -Hltn "sport >= :$port and sport <= :$((port + 3))" 2>/dev/null | grep -q . || { echo "$port"; return; }
    done
    fail "no free ports"
}

configure() {
    local port host user
    port=$(free_ports) host=$(hostname -s) user=$(id -un)
    cat >"$dir/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
# How long a ticket lasts, s, is also how long a requeued job waits; below 5 it is two minutes.
AuthInfo=socket=$dir/munge.socket,cred_expire=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd-%n.log
MpiDefault=none
MailProg=/bin/true
# Containers rarely let us have cgroups of our own.
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
# Tests want to be answered soon.
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=2,sched_min_interval=10000,batch_sched_delay=0
KillWait=3
MinJobAge=600
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
NodeName=DEFAULT CPUs=4 RealMemory=6000 State=UNKNOWN
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1))
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 2))
NodeName=n3 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 3)) Gres=gpu:2
PartitionName=cpu Nodes=n[1-2] Default=YES PriorityTier=5 PreemptMode=OFF DefaultTime=30
PartitionName=gpu Nodes=n3 PriorityTier=5 PreemptMode=OFF DefaultTime=30
PartitionName=spare Nodes=n[1-3] PriorityTier=1 PreemptMode=REQUEUE GraceTime=15 DefaultTime=30
END
    # A GPU is counted where it has a device file; these have nothing to do with GPUs.
    printf 'NodeName=n3 Name=gpu File=%s\n' /dev/null /dev/zero >"$dir/gres.conf"
    echo 'CgroupPlugin=cgroup/v1' >"$dir/cgroup.conf" # loads where there are none; nothing uses it
}

start() {
    mkdir -p "$dir"/{state,spool-n1,spool-n2,spool-n3}
    chmod 0755 "$dir"
    install
    configure
    [ -s "$dir/munge.key" ] || (umask 077 && head -c 256 /dev/urandom >"$dir/munge.key")
    munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
        --log-file="$dir/munged.log" --seed-file="$dir/munge.seed" || fail "munged does not start, see $dir/munged.log"
    slurmctld || fail "slurmctld does not start, see $dir/slurmctld.log"
    local try node
    for try in {1..100}; do
        scontrol ping 2>/dev/null | grep -q 'is UP' && break
        sleep 0.1
    done
    for node in n1 n2 n3; do
        slurmd -N "$node" || fail "slurmd does not start, see $dir/slurmd-$node.log"
    done
    for try in {1..300}; do
        [ "$(sinfo -h -N -p spare -t idle -o %N 2>/dev/null | wc -l)" = 3 ] && return
        sleep 0.1
    done
    sinfo -N >&2 || true
    fail "the nodes are not idle after 30 s, see the logs in $dir"
}

# Ends the daemons whose numbers we noted, and nothing else.
stop() {
    local try
    squeue -h -o %A 2>/dev/null | sort -u | xargs -r scancel 2>/dev/null || true
    for try in {1..60}; do
        [ -n "$(squeue -h 2>/dev/null)" ] || break
        sleep 0.2
    done
    end "$dir"/slurmd-n?.pid
    end "$dir"/slurmctld.pid "$dir"/munged.pid
}

# end FILE...: tell the processes that the files number to end, and wait until they have.
end() {
    local file pid try
    for file in "$@"; do
        pid=$(cat "$file" 2>/dev/null) && lives "$pid" && kill "$pid"
    done || true
    for file in "$@"; do
        pid=$(cat "$file" 2>/dev/null) || continue
        for try in {1..100}; do
            lives "$pid" || break
            sleep 0.1
        done
    done
}

# lives PID: it is one of our daemons, and no zombie.
lives() {
    grep -qE '^(slurmd|slurmctld|munged)' "/proc/$1/comm" 2>/dev/null &&
        grep -qE '^State:[[:space:]]+[^ZX[:space:]]' "/proc/$1/status" 2>/dev/null
}

action=start
[ "${1:-}" = --stop ] && action=stop && shift
[ $# = 1 ] || fail "usage: start-slurm.sh [--stop] DIR"
dir=$(realpath -m "$1")
export SLURM_CONF=$dir/slurm.conf
"$action"
