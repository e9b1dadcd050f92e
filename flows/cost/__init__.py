"""What the stages of a run would take: the work that each asks for, devices that do it, time by both and by what was measured, and a schedule.

Runs, fetches and loads nothing. What is printed of it is for `flows.commands`.
"""
