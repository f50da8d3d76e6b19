package androidx.test.runner.lifecycle;

/** See README.md in androidx/test. */
public interface ApplicationLifecycleMonitor {}
