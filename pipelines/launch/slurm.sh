#!/usr/bin/env bash
# Two machines of eight GPUs each: sbatch pipelines/launch/slurm.sh folder --data.root /data/photos --dtype bfloat16
# A job that is stopped by its time limit receives SIGTERM, saves, and goes on when it is submitted again.
#SBATCH --job-name=vqgen
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --signal=TERM@120
set -euo pipefail
head_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun torchrun \
  --nnodes "$SLURM_NNODES" --nproc_per_node 8 \
  --rdzv_backend c10d --rdzv_id "$SLURM_JOB_ID" --rdzv_endpoint "$head_node:29500" \
  -m vqgen run "$@"
