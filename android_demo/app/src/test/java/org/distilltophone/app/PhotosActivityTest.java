package org.distilltophone.app;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.Manifest;
import android.app.AlertDialog;
import android.app.Application;
import android.app.job.JobInfo;
import android.app.job.JobScheduler;
import android.content.Context;
import android.content.pm.PackageManager;
import android.provider.MediaStore;
import android.view.View;
import android.widget.GridView;
import android.widget.RadioGroup;
import android.widget.Switch;
import java.io.File;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import org.junit.Before;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;
import org.junit.runner.RunWith;
import org.robolectric.Robolectric;
import org.robolectric.RobolectricTestRunner;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.annotation.Config;
import org.robolectric.annotation.GraphicsMode;
import org.robolectric.shadows.ShadowDialog;

/** A user indexes and searches own photos. */
@RunWith(RobolectricTestRunner.class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
@Config(sdk = 35, qualifiers = "w360dp-h760dp-xhdpi")
public class PhotosActivityTest {
    @Rule public final TemporaryFolder folder = new TemporaryFolder();

    private Fixture fixture;
    private FakeMedia media;
    private DemoApp app;

    @Before
    public void phone() throws Exception {
        fixture = Fixture.load();
        app = (DemoApp) (Application) RuntimeEnvironment.getApplication();
        media = Robolectric.buildContentProvider(FakeMedia.class).create(MediaStore.AUTHORITY).get();
        long id = 1;
        for (String picture : fixture.pictures()) {
            put(id++, fixture.bytes(picture));
        }
    }

    private void put(long id, byte[] content) throws Exception {
        File file = new File(folder.getRoot(), id + ".jpg");
        Files.write(file.toPath(), content);
        media.photos.put(id, file);
    }

    private void permit() {
        shadowOf((Application) app).grantPermissions(Manifest.permission.READ_MEDIA_IMAGES);
    }

    private ActivityController<PhotosActivity> open() {
        return Robolectric.buildActivity(PhotosActivity.class).setup();
    }

    private void index(PhotosActivity activity) throws Exception {
        Screen.touch(activity, R.id.start);
        Screen.await("index", () -> !app.indexer.running() && Screen.shown(activity, R.id.start));
        assertNull(app.indexer.problem());
        assertTrue(app.indexer.report().finished);
    }

    @Test
    public void the_permission_is_asked_for_and_a_refusal_is_explained() throws Exception {
        PhotosActivity activity = open().get();
        assertEquals(activity.getString(R.string.photos_none), Screen.text(activity, R.id.state));
        Screen.touch(activity, R.id.start);
        String[] asked = shadowOf(activity).getLastRequestedPermission().requestedPermissions;
        assertEquals(1, asked.length);
        assertEquals(Manifest.permission.READ_MEDIA_IMAGES, asked[0]);
        activity.onRequestPermissionsResult(1, asked, new int[] {PackageManager.PERMISSION_DENIED});
        assertEquals(activity.getString(R.string.photos_permission), Screen.text(activity, R.id.detail));
        assertFalse(app.indexer.running());
        permit();
        activity.onRequestPermissionsResult(1, asked, new int[] {PackageManager.PERMISSION_GRANTED});
        Screen.await("index", () -> !app.indexer.running());
        assertEquals(fixture.pictures().size(), app.photos().count());
    }

    @Test
    public void indexed_photos_are_found() throws Exception {
        permit();
        PhotosActivity photos = open().get();
        index(photos);
        int count = fixture.pictures().size();
        assertTrue(Screen.text(photos, R.id.state).contains(String.valueOf(count)));
        Screen.shoot(photos, "photos-light");

        MainActivity activity = Robolectric.buildActivity(MainActivity.class).setup().get();
        ((RadioGroup) activity.findViewById(R.id.places)).check(R.id.in_photos);
        for (int i = 0; i < count; i++) {
            Screen.touch(activity, R.id.choose);
            shadowOf(activity).receiveResult(shadowOf(activity).getNextStartedActivityForResult().intent, android.app.Activity.RESULT_OK,
                new android.content.Intent().setData(fixture.share(fixture.pictures().get(i))));
            GridView results = activity.findViewById(R.id.results);
            String itself = FakeMedia.uri(i + 1).toString();
            Screen.await("results", () -> !Screen.shown(activity, R.id.busy) && results.getCount() == count
                && ((Query.Hit) results.getItemAtPosition(0)).id.equals(itself));
            assertEquals(1, ((Query.Hit) results.getItemAtPosition(0)).score, 0.04);
        }
        ((GridView) activity.findViewById(R.id.results)).performItemClick(null, 0, 0);
        ((AlertDialog) ShadowDialog.getLatestDialog()).getButton(AlertDialog.BUTTON_POSITIVE).performClick();
        Screen.await("viewer", () -> true);
        android.content.Intent viewer = shadowOf(activity).getNextStartedActivity();
        assertEquals(android.content.Intent.ACTION_VIEW, viewer.getAction());
        assertEquals(FakeMedia.uri(count), viewer.getData());
    }

    @Test
    public void an_undecodable_photo_is_left_out_and_the_others_are_indexed() throws Exception {
        permit();
        byte[] good = fixture.bytes(fixture.pictures().get(0));
        put(50, java.util.Arrays.copyOf(good, good.length / 2));
        put(51, new byte[0]);
        PhotosActivity activity = open().get();
        index(activity);
        assertEquals(fixture.pictures().size(), app.photos().count());
        assertEquals(2, app.photos().skipped());
        String left = activity.getResources().getQuantityString(R.plurals.photos_skipped, 2, 2);
        assertTrue(Screen.text(activity, R.id.detail), Screen.text(activity, R.id.detail).contains(left));
        Screen.shoot(activity, "photos-skipped-light");
    }

    @Test
    public void what_is_new_comes_in_and_what_is_deleted_goes() throws Exception {
        permit();
        PhotosActivity activity = open().get();
        index(activity);
        int before = app.photos().count();
        media.photos.remove(1L);
        put(60, fixture.bytes(fixture.pictures().get(0)));
        put(61, fixture.bytes(fixture.pictures().get(0)));
        index(activity);
        assertEquals(2, app.indexer.report().added);
        assertEquals(1, app.indexer.report().deleted);
        assertEquals(before + 1, app.photos().count());
    }

    @Test
    public void a_withdrawn_permission_deletes_nothing() throws Exception {
        permit();
        PhotosActivity activity = open().get();
        index(activity);
        int before = app.photos().count();
        shadowOf((Application) app).denyPermissions(Manifest.permission.READ_MEDIA_IMAGES);
        app.indexer.start();
        Screen.await("end", () -> !app.indexer.running());
        assertTrue(app.indexer.problem().contains(activity.getString(R.string.photos_permission)));
        assertEquals(before, app.photos().count());
    }

    @Test
    public void stopped_it_goes_on_where_it_was() throws Exception {
        permit();
        for (int i = 0; i < 100; i++) {
            put(100 + i, fixture.bytes(fixture.pictures().get(i % fixture.pictures().size())));
        }
        ActivityController<PhotosActivity> controller = open();
        Screen.touch(controller.get(), R.id.start);
        Screen.await("some progress", () -> app.indexer.done() > 10);
        Screen.await("seen", () -> Screen.shown(controller.get(), R.id.progress) || !app.indexer.running());
        Screen.shoot(controller.get(), "photos-running-light");
        controller.recreate(); // rotated meanwhile
        if (app.indexer.running()) {
            Screen.touch(controller.get(), R.id.stop);
        }
        Screen.await("end", () -> !app.indexer.running());
        int part = app.photos().count();
        assertTrue(String.valueOf(part), part > 10);
        index(controller.get());
        assertEquals(media.photos.size(), app.photos().count());
        assertEquals(media.photos.size() - part, app.indexer.report().added);
    }

    @Test
    public void a_hundred_thousand_photos_are_listed() throws Exception {
        permit();
        media.more = 100_000;
        List<String> ids = new ArrayList<>();
        new MediaPhotos(app, AppModel.bundle(app).preprocessing()).list((id, stamp) -> ids.add(id));
        assertEquals(100_000 + media.photos.size(), ids.size());
        assertEquals(ids.size(), new java.util.HashSet<>(ids).size());
    }

    @Test
    public void new_photos_are_followed_by_a_job_that_the_system_starts() throws Exception {
        permit();
        PhotosActivity activity = open().get();
        ((Switch) activity.findViewById(R.id.follow)).setChecked(true);
        JobScheduler scheduler = (JobScheduler) app.getSystemService(Context.JOB_SCHEDULER_SERVICE);
        JobInfo job = scheduler.getPendingJob(IndexJob.ON_CHANGE);
        assertEquals(MediaStore.Images.Media.EXTERNAL_CONTENT_URI, job.getTriggerContentUris()[0].getUri());
        assertTrue(Settings.read(app).follow);

        scheduler.cancel(IndexJob.ON_CHANGE); // the system removes a job when it starts it
        IndexJob service = Robolectric.buildService(IndexJob.class).create().get();
        android.app.job.JobParameters parameters = org.robolectric.util.ReflectionHelpers.newInstance(android.app.job.JobParameters.class);
        assertTrue(service.onStartJob(parameters));
        Screen.await("job", () -> !app.indexer.running() && shadowOf(service).getIsJobFinished());
        assertFalse(shadowOf(service).getIsRescheduleNeeded());
        assertEquals(fixture.pictures().size(), app.photos().count());
        assertTrue("scheduled anew", scheduler.getPendingJob(IndexJob.ON_CHANGE) != null);

        ((Switch) activity.findViewById(R.id.follow)).setChecked(false);
        assertNull(scheduler.getPendingJob(IndexJob.ON_CHANGE));
    }

    @Test
    public void a_job_that_the_system_stops_is_done_again() throws Exception {
        permit();
        IndexJob service = Robolectric.buildService(IndexJob.class).create().get();
        android.app.job.JobParameters parameters = org.robolectric.util.ReflectionHelpers.newInstance(android.app.job.JobParameters.class);
        assertTrue(service.onStartJob(parameters));
        assertTrue(service.onStopJob(parameters));
        Screen.await("end", () -> !app.indexer.running());
    }

    @Test
    public void the_index_is_forgotten_on_request() throws Exception {
        permit();
        PhotosActivity activity = open().get();
        index(activity);
        Screen.touch(activity, R.id.forget);
        ((AlertDialog) ShadowDialog.getLatestDialog()).getButton(AlertDialog.BUTTON_POSITIVE).performClick();
        Screen.await("forgotten", () -> Screen.text(activity, R.id.state).equals(activity.getString(R.string.photos_none)));
        assertEquals(0, app.photos().count());
        assertEquals(View.VISIBLE, activity.findViewById(R.id.start).getVisibility());
    }

    @Test
    public void it_lies_where_no_backup_reaches() throws Exception {
        permit();
        index(open().get());
        File[] files = new File(app.getNoBackupFilesDir(), "photos").listFiles();
        assertTrue(files != null && files.length > 0);
    }
}
