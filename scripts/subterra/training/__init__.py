"""From conversations to weights: masked, packed tokens, a Trainer that resumes, and the best checkpoint."""
