"""Keep what a run makes: run folders, their manifests, their files, each written whole."""
