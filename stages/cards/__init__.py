"""Write a stage-3 run's model card."""
