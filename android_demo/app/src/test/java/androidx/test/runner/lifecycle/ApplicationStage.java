package androidx.test.runner.lifecycle;

/** See README.md in androidx/test. */
public enum ApplicationStage {
    PRE_ON_CREATE, CREATED
}
