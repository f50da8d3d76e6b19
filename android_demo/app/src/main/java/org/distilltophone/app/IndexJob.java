package org.distilltophone.app;

import android.app.job.JobInfo;
import android.app.job.JobParameters;
import android.app.job.JobScheduler;
import android.app.job.JobService;
import android.content.ComponentName;
import android.content.Context;
import android.provider.MediaStore;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;

/**
 * Indexes photos while the app is not on the screen. Needs no permission. The system starts the job after photos changed and
 * may stop it at any time; the next run continues from there.
 */
public final class IndexJob extends JobService implements Indexer.Listener {
    /** Runs once, as soon as possible; continues when the user leaves the app. */
    static final int NOW = 1;
    /** Runs whenever photos were added or changed. */
    static final int ON_CHANGE = 2;

    private static final long SETTLE_MS = 5_000;
    private static final long LATEST_MS = 60_000;

    // Both jobs may be active at once; one run of the indexer serves both.
    private final List<JobParameters> started = new ArrayList<JobParameters>();

    /** Schedules a run for as soon as possible. */
    static void now(Context context) {
        scheduler(context).schedule(new JobInfo.Builder(NOW, component(context)).setOverrideDeadline(0).build());
    }

    /** Starts or stops indexing after changes of the photos. */
    static void follow(Context context, boolean follow) {
        if (!follow) {
            scheduler(context).cancel(ON_CHANGE);
            return;
        }
        // Such a job runs only once, so each run schedules the next.
        scheduler(context).schedule(new JobInfo.Builder(ON_CHANGE, component(context))
            .addTriggerContentUri(new JobInfo.TriggerContentUri(MediaStore.Images.Media.EXTERNAL_CONTENT_URI,
                JobInfo.TriggerContentUri.FLAG_NOTIFY_FOR_DESCENDANTS))
            .setTriggerContentUpdateDelay(SETTLE_MS)
            .setTriggerContentMaxDelay(LATEST_MS)
            .build());
    }

    private static JobScheduler scheduler(Context context) {
        return (JobScheduler) context.getSystemService(Context.JOB_SCHEDULER_SERVICE);
    }

    private static ComponentName component(Context context) {
        return new ComponentName(context, IndexJob.class);
    }

    private Indexer indexer() {
        return ((DemoApp) getApplication()).indexer;
    }

    @Override
    public boolean onStartJob(JobParameters job) {
        if (!MediaPhotos.permitted(this)) {
            return false;
        }
        if (started.isEmpty()) {
            indexer().add(this);
        }
        started.add(job);
        indexer().start();
        return true;
    }

    @Override
    public void indexerChanged() {
        if (started.isEmpty() || indexer().running()) {
            return;
        }
        indexer().remove(this);
        // Before jobFinished, as JobInfo.Builder.addTriggerContentUri requires, so that no change is missed.
        follow(this, Settings.read(this).follow);
        for (JobParameters job : started) {
            jobFinished(job, false);
        }
        started.clear();
    }

    @Override
    public boolean onStopJob(JobParameters job) {
        for (Iterator<JobParameters> each = started.iterator(); each.hasNext();) {
            if (each.next().getJobId() == job.getJobId()) {
                each.remove();
            }
        }
        if (started.isEmpty()) {
            indexer().remove(this);
            indexer().stop();
        }
        return true; // reschedule
    }
}
