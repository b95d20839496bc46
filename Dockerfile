# One image, two commands: `python -m bot` (the default) and `python -m worker`.
FROM python:3.12-slim-bookworm

WORKDIR /app
# The steps are the project's own scripts, which CI calls too.
COPY pyproject.toml README.md requirements.lock requirements-dev.lock ./
COPY scripts/setup scripts/setup
COPY bot bot
COPY worker worker
RUN scripts/setup && rm -rf /var/lib/apt/lists/*

# The sandbox wants a user who is not root; mirrors, caches and toolchains are his.
RUN useradd --system --create-home --uid 10001 pushlane \
    && install -d -m 0700 -o pushlane -g pushlane /var/lib/pushlane
USER pushlane
VOLUME /var/lib/pushlane

ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PUSHLANE_DATA_DIR=/var/lib/pushlane \
    PUSHLANE_HOST=0.0.0.0
EXPOSE 8000
# It asks the bot; where the command is the worker, which listens on nothing, switch it off.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open(f'http://127.0.0.1:{os.environ.get(\"PUSHLANE_PORT\") or os.environ.get(\"PORT\") or 8000}/healthz', timeout=4)"]
CMD ["python", "-m", "bot"]
