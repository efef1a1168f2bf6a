"""The laboratory: experiments over seeds, searches and controls, run over processes and kept on disk."""
